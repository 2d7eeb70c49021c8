"""The verbs: each reads its arguments, does its work through the rooms, and says how it went."""
