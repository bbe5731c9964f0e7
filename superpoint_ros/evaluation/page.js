// Copyright 2026 The superpoint_ros authors
// SPDX-License-Identifier: Apache-2.0
// One moment, shown in all plots of a section: point at a plot, use its arrow keys, or click a picture.
'use strict';

const svgElement = (parent, tag, attributes) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return parent.appendChild(made);
};

// Index of the last time that is not after t; times ascend.
const indexAt = (times, t) => {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= t) low = middle + 1; else high = middle;
  }
  const after = Math.min(low, times.length - 1), before = Math.max(low - 1, 0);
  return t - times[before] <= times[after] - t ? before : after;
};

class Plot {
  constructor(svg) {
    Object.assign(this, JSON.parse(svg.dataset.axes));  // kind, box, x, y, isLogarithmic, unit, lines
    this.svg = svg;
    this.layer = svgElement(svg, 'g', {'aria-hidden': 'true'});
    this.output = svg.closest('figure').appendChild(document.createElement('output'));
    this.output.setAttribute('aria-live', 'off');
    svg.tabIndex = 0;
  }
  toX(value) { return this.box[0] + (value - this.x[0]) / (this.x[1] - this.x[0]) * this.box[2]; }
  toY(value) {
    const scale = this.isLogarithmic ? Math.log : (number) => number;
    return this.box[1] + (scale(this.y[1]) - scale(value)) / (scale(this.y[1]) - scale(this.y[0])) * this.box[3];
  }

  // The time that the pointer means; null outside of the axes.
  timeAt(event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    const [left, top, width, height] = this.box;
    if (place.x < left || place.x > left + width || place.y < top || place.y > top + height) return null;
    if (this.kind === 'time') return this.x[0] + (place.x - left) / width * (this.x[1] - this.x[0]);
    let best = null, least = Infinity;
    for (const line of this.lines) {
      line.t.forEach((t, i) => {
        if (line.x[i] === null) return;
        const distance = Math.hypot(this.toX(line.x[i]) - place.x, this.toY(line.y[i]) - place.y);
        if (distance < least) [best, least] = [t, distance];
      });
    }
    return best;
  }

  show(t) {
    this.layer.replaceChildren();
    this.output.textContent = '';
    if (t === null) return;
    const words = [], unit = this.unit && ` ${this.unit}`;
    if (this.kind === 'time') {
      const [, top, , height] = this.box, x = this.toX(t);
      if (t < this.x[0] || t > this.x[1]) return;
      svgElement(this.layer, 'line', {x1: x, x2: x, y1: top, y2: top + height, class: 'cursor'});
    }
    for (const line of this.lines) {
      const i = indexAt(line.t, t), x = this.kind === 'time' ? line.t[i] : line.x[i], y = line.y[i];
      if (x === null || y === null) { words.push(`${line.name} –`); continue; }
      svgElement(this.layer, 'circle', {
        cx: this.toX(x), cy: this.toY(y), r: 3.5, class: 'dot', style: `fill: var(--${line.colour})`,
      });
      words.push(this.kind === 'time' ? `${line.name} ${y}${unit}` : `${line.name} (${x}, ${y})${unit}`);
    }
    this.output.textContent = `${t.toFixed(2)} s: ${words.join(', ')}`;
  }
}

for (const section of document.querySelectorAll('section')) {
  const plots = [...section.querySelectorAll('svg[data-axes]')].map((svg) => new Plot(svg));
  let now = null;
  const show = (t) => { now = t; plots.forEach((plot) => plot.show(t)); };
  for (const plot of plots) {
    plot.svg.addEventListener('pointermove', (event) => {
      const t = plot.timeAt(event);
      if (t !== null) show(t);
    });
    plot.svg.addEventListener('keydown', (event) => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key], times = plot.lines[0].t;
      if (event.key === 'Escape') show(null);
      if (step === undefined || !times.length) return;
      event.preventDefault();
      const i = now === null ? 0 : indexAt(times, now) + step;
      show(times[Math.min(Math.max(i, 0), times.length - 1)]);
    });
  }
  for (const picture of section.querySelectorAll('figure[data-time]')) {
    picture.addEventListener('click', () => show(Number(picture.dataset.time)));
  }
}
document.documentElement.dataset.ready = 'true';
