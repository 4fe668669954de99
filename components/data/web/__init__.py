"""Files of the web: which addresses may be asked, how a file is fetched whole, and where it is kept."""
