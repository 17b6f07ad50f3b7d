// What is wider than the page can be scrolled with the keyboard, too.
document.addEventListener('DOMContentLoaded', () => {
  for (const part of document.querySelectorAll('pre, .math-wrapper, .table-wrapper')) {
    part.tabIndex = 0;
  }
});
