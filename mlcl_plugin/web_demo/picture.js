// On a phone the picture is above the labels: show it when it has changed.
watch('value', () => element.scrollIntoView({ block: 'nearest' }));
