"""The ports' real implementations. Each outside library has its module here, and its errors end here."""
