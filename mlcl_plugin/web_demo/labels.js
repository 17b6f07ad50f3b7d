// A click on a label tells the page which one. After the list is written anew, the
// label has the focus again, for people who use the keyboard.
let chosen = null;
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-label]');
  if (!button) return;
  chosen = button.dataset.label;
  trigger('click', { label: Number(chosen) });
});
watch('value', () => {
  if (chosen === null) return;
  const button = element.querySelector(`button[data-label="${chosen}"]`);
  chosen = null;
  if (button) button.focus({ preventScroll: true });
});
