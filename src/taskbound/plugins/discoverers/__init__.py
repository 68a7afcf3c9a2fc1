"""What sees who holds which credentials, and where."""
