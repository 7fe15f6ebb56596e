"""A trained model outside its workflow: exported to a folder, read back, put to new BOLD."""
