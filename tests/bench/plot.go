package main

import (
	"fmt"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
	"os"
)

// plotCurve draws rate and p99 against the number of clients, one above the other.
func plotCurve(curve []point, dir string) (err error) {
	rates, p99s := make(plotter.XYs, len(curve)), make(plotter.XYs, len(curve))
	for i, p := range curve {
		rates[i] = plotter.XY{X: float64(p.clients), Y: p.rate}
		p99s[i] = plotter.XY{X: float64(p.clients), Y: float64(p.p99.Microseconds()) / 1000}
	}
	upper, err := graph("purchases a second", rates)
	if err != nil {
		return err
	}
	lower, err := graph("p99, ms", p99s)
	if err != nil {
		return err
	}
	lower.X.Label.Text = "clients"
	canvas := vgsvg.New(16*vg.Centimeter, 14*vg.Centimeter)
	tiles := draw.Tiles{Rows: 2, Cols: 1, PadY: 4 * vg.Millimeter, PadTop: 2 * vg.Millimeter, PadRight: 4 * vg.Millimeter}
	for i, row := range plot.Align([][]*plot.Plot{{upper}, {lower}}, tiles, draw.New(canvas)) {
		[]*plot.Plot{upper, lower}[i].Draw(row[0])
	}
	f, err := os.Create(filepath.Join(dir, "benchmarks.svg"))
	if err != nil {
		return err
	}
	defer func() { err = closing(f, err) }()
	if _, err := canvas.WriteTo(f); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

func closing(f *os.File, err error) error {
	if closeErr := f.Close(); err == nil {
		return closeErr
	}
	return err
}

func graph(what string, points plotter.XYs) (*plot.Plot, error) {
	p := plot.New()
	p.Y.Label.Text, p.Y.Min = what, 0
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.ConstantTicks(ticks(points))
	if err := plotutil.AddLinePoints(p, points); err != nil {
		return nil, fmt.Errorf("plot %s: %w", what, err)
	}
	p.Y.Min = 0
	return p, nil
}

func ticks(points plotter.XYs) (marks []plot.Tick) {
	for _, at := range points {
		marks = append(marks, plot.Tick{Value: at.X, Label: fmt.Sprint(at.X)})
	}
	return marks
}
