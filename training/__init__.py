"""The fine-tuning recipe: manifests in, a checkpoint out."""
