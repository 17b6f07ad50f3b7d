// gradio calls its button otherwise than it reads, also for screen readers. Without the
// other name it is called as it reads.
const button = '#upload button.upload-container[aria-label]';
const rename = () =>
  document.querySelectorAll(button).forEach((b) => b.removeAttribute('aria-label'));
new MutationObserver(rename).observe(document.body, { childList: true, subtree: true });
rename();
