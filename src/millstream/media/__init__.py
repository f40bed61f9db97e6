"""Where pictures come from and where they go: files, folders, arrays, and a drawing made by code."""
