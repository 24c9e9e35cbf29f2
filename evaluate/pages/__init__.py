"""Every HTML page with its template and figures, and the local server.

page          the templates
report        the page of an evaluation
comparison    the page of a comparison
card          the card of one video
figures       the drawings
thumbnails    small pictures of a video
serve         the local page that rates the video dropped on it
"""
