"""Styles: what a judge is shown, how its chain is closed early, how its verdict is read."""
