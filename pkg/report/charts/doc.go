// Package charts draws the charts of the pictures as fragments of SVG: groups whose upper left corner
// is 0,0. They are pure functions of their values. What was not observed is drawn as a gap, never
// joined; axes have round numbers; labels that would collide are moved, then left out.
package charts
