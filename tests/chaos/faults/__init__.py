"""What can happen to an installation, each as a value that knows how to bring itself about and how to go away again."""
