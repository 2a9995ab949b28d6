"""The judge as a reward: what RLHF trainers call."""
