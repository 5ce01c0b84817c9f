"""What moves instances forward: admission, attempts, the driver and the runner."""
