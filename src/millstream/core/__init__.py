"""The method: torch only, pure. No files, no threads, no diffusers."""
