"""What stands behind the page of the Space, which is app.py."""
