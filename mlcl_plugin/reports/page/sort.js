document.querySelectorAll('table.sortable').forEach(function (table) {
  table.querySelectorAll('thead button').forEach(function (button) {
    button.addEventListener('click', function () {
      var head = button.closest('th');
      var column = Array.prototype.indexOf.call(head.parentNode.children, head);
      var first = column === 0 ? 'ascending' : 'descending';
      var other = first === 'ascending' ? 'descending' : 'ascending';
      var order = head.getAttribute('aria-sort') === first ? other : first;
      head.parentNode.querySelectorAll('th').forEach(function (cell) {
        cell.removeAttribute('aria-sort');
      });
      head.setAttribute('aria-sort', order);
      var body = table.tBodies[0];
      var rows = Array.prototype.slice.call(body.rows);
      rows.map(function (row) {
        var cell = row.children[column];
        var value = cell.dataset.order;
        return { row: row, text: cell.textContent, value: value };
      }).sort(function (a, b) {
        if (column === 0) {
          return a.text.localeCompare(b.text) * (order === 'ascending' ? 1 : -1);
        }
        if (!a.value || !b.value) {
          // Labels without a value come last in both orders.
          return (a.value ? 0 : 1) - (b.value ? 0 : 1);
        }
        return (a.value - b.value) * (order === 'ascending' ? 1 : -1);
      }).forEach(function (item) {
        body.appendChild(item.row);
      });
    });
  });
});
