"""The fine-tuning recipe, and the phrasebook checkpoint it trains."""
