"""What a person asks for in one word: check, repair, demo. They only compose the rooms below."""
