"""Finds equal and nearly equal documents."""
