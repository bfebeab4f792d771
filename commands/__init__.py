"""What `main.py` can be told to do: one group of commands a file; anything slow to load is imported when it is run."""
