"""Two sets of predictions of the same videos: `main.py compare`, whole."""
