"""onesigma keeps the signals of a PyTorch network at unit scale."""
