"""asv's door to the suite: thin classes, one question a file. All measuring is done by sepconv_bench itself."""
