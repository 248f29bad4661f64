"""What a notebook and the command line ask for alike, each answered by an object that can be looked at."""
