"""What is shown on a page: pictures as SVG, and the report that has them. Pure: text from what is known."""
