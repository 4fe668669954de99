"""Evidence about a trained model: one file per kind, chosen by what the model can do."""
