"""Other tools' files.

Order inside the room: whole · cartography · doubted · answers · argilla · labelstudio · spotlight · subsets · cleaned.
"""
