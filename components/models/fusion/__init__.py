"""Joint image–text encoder: words and image look at each other, so that pairs are judged, questions answered and gaps filled."""
