package render

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"math"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// resvgModule is resvg as npm's @resvg/resvg-wasm publishes it; resvg/README.md has the version.
//
//go:embed resvg/resvg.wasm
var resvgModule []byte

// memoryPages bounds an instance to 1 GiB (pages of 64 KiB): an SVG whose filters or nested groups
// ask for more is refused, it does not take the machine with it.
const memoryPages = 16 << 10

// engine is the compiled module, shared by its instances.
type engine struct {
	runtime wazero.Runtime
	module  wazero.CompiledModule
	cache   wazero.CompilationCache
}

func newEngine(ctx context.Context, cacheDir string) (_ *engine, err error) {
	e := &engine{}
	cfg := wazero.NewRuntimeConfig().WithMemoryLimitPages(memoryPages)
	if cacheDir != "" {
		e.cache, err = wazero.NewCompilationCacheWithDir(cacheDir)
		if err != nil {
			return nil, fmt.Errorf("open the cache of the drawing module in %s: %w", cacheDir, err)
		}
		cfg = cfg.WithCompilationCache(e.cache)
	}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, cfg)
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := instantiateImports(ctx, e.runtime); err != nil {
		return nil, fmt.Errorf("link the drawing module: %w", err)
	}
	e.module, err = e.runtime.CompileModule(ctx, resvgModule)
	if err != nil {
		return nil, fmt.Errorf("compile the drawing module: %w", err)
	}
	return e, nil
}

func (e *engine) close(ctx context.Context) error {
	err := e.runtime.Close(ctx)
	if e.cache != nil {
		err = errors.Join(err, e.cache.Close(ctx))
	}
	return err
}

// instance is one copy of the module with a memory of its own. It draws one picture at a time.
//
// The module is made by wasm-bindgen for JavaScript: objects are numbers that index a table which the
// host keeps, and what the functions return is written behind a pointer on the module's stack. Both
// are played here, for the few functions that drawing needs.
type instance struct {
	mod   api.Module
	table objects

	add, malloc, free            api.Function
	create, release              api.Function
	width, height                api.Function
	render, pixels, freeRendered api.Function
	renderedWidth                api.Function
	renderedHeight               api.Function
}

type instanceKey struct{}

func (e *engine) instantiate(ctx context.Context) (*instance, error) {
	in := &instance{}
	mod, err := e.runtime.InstantiateModule(context.WithValue(ctx, instanceKey{}, in), e.module,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("start the drawing module: %w", err)
	}
	in.mod = mod
	for name, f := range map[string]*api.Function{
		"__wbindgen_add_to_stack_pointer": &in.add,
		"__wbindgen_malloc":               &in.malloc,
		"__wbindgen_free":                 &in.free,
		"resvg_new":                       &in.create,
		"__wbg_resvg_free":                &in.release,
		"resvg_width":                     &in.width,
		"resvg_height":                    &in.height,
		"resvg_render":                    &in.render,
		"renderedimage_pixels":            &in.pixels,
		"renderedimage_width":             &in.renderedWidth,
		"renderedimage_height":            &in.renderedHeight,
		"__wbg_renderedimage_free":        &in.freeRendered,
	} {
		if *f = mod.ExportedFunction(name); *f == nil {
			return nil, errors.Join(fmt.Errorf("the drawing module has no function %s", name), mod.Close(ctx))
		}
	}
	return in, nil
}

// drawOptions is the part of resvg's options that we use.
type drawOptions struct {
	Font struct {
		LoadSystemFonts bool `json:"loadSystemFonts"`
	} `json:"font"`
	FitTo struct {
		Mode  string `json:"mode"`
		Value int    `json:"value"`
	} `json:"fitTo"`
	LogLevel string `json:"logLevel"`
}

// draw returns the picture with its pixels premultiplied. An error that is not a *svgError leaves the
// instance unusable: the module stopped in the middle of something.
func (in *instance) draw(ctx context.Context, svg []byte, width int) (_ *image.RGBA, err error) {
	ctx = context.WithValue(ctx, instanceKey{}, in)
	var o drawOptions
	o.FitTo.Mode, o.FitTo.Value = "width", width
	o.LogLevel = "off"
	options, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode the options: %w", err)
	}
	ptr, length, err := in.pass(ctx, options)
	if err != nil {
		return nil, err
	}
	handle, err := in.result(ctx, in.create, uint64(in.table.add(string(svg))), uint64(ptr), uint64(length), 0)
	if err != nil {
		return nil, err
	}
	rendered, err := in.result(ctx, in.render, uint64(handle))
	if err != nil {
		var refused *svgError
		if errors.As(err, &refused) {
			_, err2 := in.release.Call(ctx, uint64(handle))
			return nil, errors.Join(err, err2)
		}
		return nil, err
	}
	var size [2]int
	for i, f := range []api.Function{in.renderedWidth, in.renderedHeight} {
		n, err := f.Call(ctx, uint64(rendered))
		if err != nil {
			return nil, fmt.Errorf("ask for the picture's size: %w", err)
		}
		size[i] = int(uint32(n[0]))
	}
	ref, err := in.pixels.Call(ctx, uint64(rendered))
	if err != nil {
		return nil, fmt.Errorf("read the pixels: %w", err)
	}
	pix, ok := in.table.take(uint32(ref[0])).([]byte)
	if !ok || len(pix) != 4*size[0]*size[1] {
		return nil, fmt.Errorf("the drawing module returned %d bytes for %dx%d pixels", len(pix), size[0], size[1])
	}
	for _, f := range []struct {
		free   api.Function
		handle uint32
	}{{in.freeRendered, rendered}, {in.release, handle}} {
		if _, err := f.free.Call(ctx, uint64(f.handle)); err != nil {
			return nil, fmt.Errorf("free the picture: %w", err)
		}
	}
	return &image.RGBA{Pix: pix, Stride: 4 * size[0], Rect: image.Rect(0, 0, size[0], size[1])}, nil
}

// svgError is resvg's word on an SVG that it can't draw; the instance is fine.
type svgError struct{ message string }

func (e *svgError) Error() string { return e.message }

// result calls a function that returns Result<u32, JsError> behind a pointer.
func (in *instance) result(ctx context.Context, f api.Function, args ...uint64) (uint32, error) {
	sp, err := in.add.Call(ctx, api.EncodeI32(-16))
	if err != nil {
		return 0, fmt.Errorf("reserve the result: %w", err)
	}
	ret := uint32(sp[0])
	if _, err := f.Call(ctx, append([]uint64{uint64(ret)}, args...)...); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, fmt.Errorf("draw: %w", err)
	}
	var words [3]uint32
	for i := range words {
		w, ok := in.mod.Memory().ReadUint32Le(ret + 4*uint32(i))
		if !ok {
			return 0, errors.New("the drawing module returned a pointer out of its memory")
		}
		words[i] = w
	}
	if _, err := in.add.Call(ctx, api.EncodeI32(16)); err != nil {
		return 0, fmt.Errorf("release the result: %w", err)
	}
	if words[2] != 0 {
		return 0, &svgError{fmt.Sprint(in.table.take(words[1]))}
	}
	return words[0], nil
}

// pass copies bytes into the module's memory; the callee owns them.
func (in *instance) pass(ctx context.Context, b []byte) (ptr, length uint32, err error) {
	if len(b) > math.MaxInt32 {
		return 0, 0, ErrTooLarge
	}
	p, err := in.malloc.Call(ctx, uint64(len(b)), 1)
	if err != nil {
		return 0, 0, fmt.Errorf("reserve %d bytes in the drawing module: %w", len(b), err)
	}
	if !in.mod.Memory().Write(uint32(p[0]), b) {
		return 0, 0, fmt.Errorf("the drawing module has no room for %d bytes", len(b))
	}
	return uint32(p[0]), uint32(len(b)), nil
}

// objects is the table of what the module holds by number. The first 132 numbers are taken:
// wasm-bindgen keeps 128 for borrowed values, then come undefined, null, true and false.
type objects struct {
	values []any
	unused []uint32
}

const firstObject = 132

func (o *objects) add(v any) uint32 {
	if n := len(o.unused); n > 0 {
		i := o.unused[n-1]
		o.unused = o.unused[:n-1]
		o.values[i-firstObject] = v
		return i
	}
	o.values = append(o.values, v)
	return uint32(len(o.values)-1) + firstObject
}

func (o *objects) get(i uint32) any {
	if i < firstObject || int(i-firstObject) >= len(o.values) {
		return nil
	}
	return o.values[i-firstObject]
}

func (o *objects) take(i uint32) any {
	v := o.get(i)
	if i >= firstObject && int(i-firstObject) < len(o.values) && v != nil {
		o.values[i-firstObject] = nil
		o.unused = append(o.unused, i)
	}
	return v
}

// What the table holds beside Go's string and []byte.
type (
	memoryObject struct{} // WebAssembly.Memory and its ArrayBuffer
	viewObject   struct{ offset, length uint32 }
	arrayObject  struct{ items []any }
	iterObject   struct {
		array *arrayObject
		next  int
	}
	stepObject struct {
		value any
		done  bool
	}
)

// instantiateImports gives the module the JavaScript that it imports. A mistake panics, which wazero
// turns into the error of the call that it happened in.
func instantiateImports(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder("wbg")
	of := func(ctx context.Context) *instance {
		in, ok := ctx.Value(instanceKey{}).(*instance)
		if !ok {
			panic("called without an instance")
		}
		return in
	}
	text := func(m api.Module, ptr, length uint32) string {
		s, ok := m.Memory().Read(ptr, length)
		if !ok {
			panic("text out of memory")
		}
		return string(s)
	}
	export := func(name string, f any) { b.NewFunctionBuilder().WithFunc(f).Export(name) }

	newText := func(ctx context.Context, m api.Module, ptr, length uint32) uint32 {
		return of(ctx).table.add(text(m, ptr, length))
	}
	export("__wbg_new_28c511d9baebfa89", newText) // new Error(message)
	export("__wbindgen_string_new", newText)
	export("__wbindgen_memory", func(ctx context.Context) uint32 { return of(ctx).table.add(memoryObject{}) })
	export("__wbg_buffer_12d079cc21e14bdb", func(ctx context.Context, _ uint32) uint32 {
		return of(ctx).table.add(memoryObject{})
	})
	export("__wbg_newwithbyteoffsetandlength_aa4a17c33a06e5cb", func(ctx context.Context, _, offset, length uint32) uint32 {
		return of(ctx).table.add(viewObject{offset, length})
	})
	export("__wbg_new_63b92bc8671ed464", func(ctx context.Context, m api.Module, ref uint32) uint32 { // new Uint8Array(x)
		in := of(ctx)
		switch v := in.table.get(ref).(type) {
		case memoryObject:
			return in.table.add(viewObject{0, m.Memory().Size()})
		case viewObject:
			b, ok := m.Memory().Read(v.offset, v.length)
			if !ok {
				panic("view out of memory")
			}
			return in.table.add(append([]byte(nil), b...))
		case []byte:
			return in.table.add(append([]byte(nil), v...))
		default:
			panic(fmt.Sprintf("new Uint8Array of %T", v))
		}
	})
	export("__wbg_length_c20a40f15020d68a", func(ctx context.Context, ref uint32) uint32 {
		switch v := of(ctx).table.get(ref).(type) {
		case viewObject:
			return v.length
		case []byte:
			return uint32(min(len(v), math.MaxInt32))
		default:
			panic(fmt.Sprintf("length of %T", v))
		}
	})
	export("__wbg_set_a47bac70306a19a7", func(ctx context.Context, m api.Module, to, from, offset uint32) {
		in := of(ctx)
		view, ok := in.table.get(to).(viewObject)
		data, ok2 := in.table.get(from).([]byte)
		if !ok || !ok2 || uint64(offset)+uint64(len(data)) > uint64(view.length) || !m.Memory().Write(view.offset+offset, data) {
			panic("set out of memory")
		}
	})
	export("__wbg_instanceof_Uint8Array_2b3bbecd033d19f6", func(ctx context.Context, ref uint32) uint32 {
		if _, ok := of(ctx).table.get(ref).([]byte); ok {
			return 1
		}
		return 0
	})
	export("__wbindgen_string_get", func(ctx context.Context, m api.Module, ret, ref uint32) {
		in := of(ctx)
		var ptr, length uint32
		if s, ok := in.table.get(ref).(string); ok {
			var err error
			if ptr, length, err = in.pass(ctx, []byte(s)); err != nil {
				panic(err)
			}
		}
		if !m.Memory().WriteUint32Le(ret, ptr) || !m.Memory().WriteUint32Le(ret+4, length) {
			panic("string out of memory")
		}
	})
	export("__wbindgen_object_drop_ref", func(ctx context.Context, ref uint32) { of(ctx).table.take(ref) })
	export("__wbg_new_16b304a2cfa7ff4a", func(ctx context.Context) uint32 { return of(ctx).table.add(&arrayObject{}) })
	export("__wbg_push_a5b05aedc7234f9f", func(ctx context.Context, array, item uint32) uint32 {
		in := of(ctx)
		a, ok := in.table.get(array).(*arrayObject)
		if !ok {
			panic("push to what is no array")
		}
		a.items = append(a.items, in.table.get(item))
		return uint32(min(len(a.items), math.MaxInt32))
	})
	export("__wbg_values_839f3396d5aac002", func(ctx context.Context, ref uint32) uint32 {
		a, ok := of(ctx).table.get(ref).(*arrayObject)
		if !ok {
			panic("values of what is no array")
		}
		return of(ctx).table.add(&iterObject{array: a})
	})
	export("__wbg_next_196c84450b364254", func(ctx context.Context, ref uint32) uint32 {
		it, ok := of(ctx).table.get(ref).(*iterObject)
		if !ok {
			panic("next of what is no iterator")
		}
		if it.next >= len(it.array.items) {
			return of(ctx).table.add(stepObject{done: true})
		}
		it.next++
		return of(ctx).table.add(stepObject{value: it.array.items[it.next-1]})
	})
	export("__wbg_done_298b57d23c0fc80c", func(ctx context.Context, ref uint32) uint32 {
		if s, ok := of(ctx).table.get(ref).(stepObject); ok && !s.done {
			return 0
		}
		return 1
	})
	export("__wbg_value_d93c65011f51a456", func(ctx context.Context, ref uint32) uint32 {
		s, ok := of(ctx).table.get(ref).(stepObject)
		if !ok {
			panic("value of what is no step")
		}
		return of(ctx).table.add(s.value)
	})
	export("__wbindgen_throw", func(_ context.Context, m api.Module, ptr, length uint32) {
		panic(text(m, ptr, length))
	})
	_, err := b.Instantiate(ctx)
	return err
}
