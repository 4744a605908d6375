"""Stage 4: recurrent networks. A state is carried through the video, and what it keeps is learnt."""
