package mysqlwire

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Algorithm is a way to compress. Its methods may be called by any number of
// connections at once.
type Algorithm interface {
	// deflate appends src, compressed as a stream of its own.
	deflate(dst *bytes.Buffer, src []byte) error
	// inflate reads one such stream. Closing gives back what it takes.
	inflate(src io.Reader) (io.ReadCloser, error)
}

// Zlib is what CLIENT_COMPRESS stands for.
var Zlib Algorithm = zlibAlgorithm{}

// Zstd is what CLIENT_ZSTD_COMPRESSION_ALGORITHM stands for (MySQL's alone).
var Zstd Algorithm = zstdAlgorithm{}

type zlibAlgorithm struct{}

// Writers and readers are large, and connections are mostly idle.
var (
	zlibWriters = sync.Pool{New: func() any { return zlib.NewWriter(io.Discard) }}
	zlibReaders sync.Pool // of zlib.Resetter: the first needs a stream to be made
)

func (zlibAlgorithm) deflate(dst *bytes.Buffer, src []byte) error {
	w := zlibWriters.Get().(*zlib.Writer)
	defer zlibWriters.Put(w)
	w.Reset(dst)
	if _, err := w.Write(src); err != nil {
		return err
	}
	return w.Close()
}

func (zlibAlgorithm) inflate(src io.Reader) (io.ReadCloser, error) {
	if pooled, ok := zlibReaders.Get().(io.ReadCloser); ok {
		err := pooled.(zlib.Resetter).Reset(src, nil)
		return zlibReader{pooled}, err
	}
	r, err := zlib.NewReader(src)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return zlibReader{r}, nil
}

type zlibReader struct{ io.ReadCloser }

func (r zlibReader) Close() error {
	zlibReaders.Put(r.ReadCloser)
	return nil
}

type zstdAlgorithm struct{}

var (
	zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	})
	zstdReaders sync.Pool
)

func (zstdAlgorithm) deflate(dst *bytes.Buffer, src []byte) error {
	w, err := zstdEncoder()
	if err != nil {
		return err
	}
	dst.Write(w.EncodeAll(src, dst.AvailableBuffer()))
	return nil
}

func (zstdAlgorithm) inflate(src io.Reader) (io.ReadCloser, error) {
	if pooled, ok := zstdReaders.Get().(*zstd.Decoder); ok {
		return zstdReader{pooled}, pooled.Reset(src)
	}
	// One goroutine less to wait for, and no window larger than a packet.
	r, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<24), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return zstdReader{r}, nil
}

type zstdReader struct{ *zstd.Decoder }

// Close keeps the decoder for another stream.
func (r zstdReader) Close() error {
	zstdReaders.Put(r.Decoder)
	return nil
}
