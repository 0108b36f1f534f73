"""What the operating system gives a process: clocks, signals, exits. Imports nothing of ours."""
