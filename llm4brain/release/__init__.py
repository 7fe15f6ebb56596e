"""A trained model outside its workflow: export to a folder, loading, and decoding of new BOLD."""
