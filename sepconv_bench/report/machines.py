def write_comparison(found, folder):
    return folder
