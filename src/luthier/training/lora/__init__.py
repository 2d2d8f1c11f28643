"""The trainable models: LoRA adapters and full fine-tuning."""
