"""What the hub shows of a zoo: templates of cards, and the committed results of the baselines."""
