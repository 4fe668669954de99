"""What augmentation does to one sample, whether the stage writes the result down or a training alters its rows as it draws them."""
