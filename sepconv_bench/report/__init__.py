"""What it means: figures, tables, and one self-contained HTML page. Reads results; knows nothing of kernels."""
