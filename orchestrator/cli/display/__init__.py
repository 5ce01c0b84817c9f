"""What is shown on the terminal while a run goes on."""
