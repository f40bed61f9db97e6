"""The server: an engine worker under a supervisor, and the page and API in front of it."""
