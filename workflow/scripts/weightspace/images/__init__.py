"""Image sets: settings, files, pictures, tensors."""
