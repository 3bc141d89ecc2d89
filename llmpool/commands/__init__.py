"""What the commands of the command line do; each module is loaded when its command is asked for."""
