"""`bench live`: how old pictures are when they are seen. Nothing is imported here: the server does without torch."""
