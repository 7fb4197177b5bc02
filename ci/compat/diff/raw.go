package diff

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawAnswer is what came back on one HTTP/2 stream.
type rawAnswer struct {
	// fields are header and trailer fields that a gRPC client looks at, sorted.
	fields string
	// body is the length of the data, which holds ids.
	body int
	// reset is the code of a RST_STREAM, or -1.
	reset int
}

// raw sends a request that no gRPC library would send, and then a good one on the same connection.
func (r *Runner) raw(q *Raw) *Difference {
	type answer struct {
		got [2]rawAnswer
		err error
	}
	answers := both(r, func(s *side) (a answer) {
		a.got, a.err = s.raw(q)
		return a
	})
	if answers[0].err != nil || answers[1].err != nil {
		return r.differ("raw request", answers[0].err, answers[1].err)
	}
	for i, what := range []string{"raw request", "good request after a raw one"} {
		if answers[0].got[i] != answers[1].got[i] && !(i == 0 && q.pathIsReset(answers[0].got[i], answers[1].got[i])) {
			return r.differ(what, fmt.Sprintf("%+v", answers[0].got[i]), fmt.Sprintf("%+v", answers[1].got[i]))
		}
	}
	r.coverage.Count("raw requests", 1)
	r.coverage.rawAnswer(answers[0].got[0])
	return nil
}

// pathIsReset allows a difference: keelkv's HTTP/2 library resets streams whose path has no slash in front,
// where etcd says that it knows no such method.
func (q *Raw) pathIsReset(etcd, keelkv rawAnswer) bool {
	slash := slices.ContainsFunc(q.Fields, func(f [2][]byte) bool {
		return string(f[0]) == ":path" && bytes.HasPrefix(f[1], []byte("/"))
	})
	return !slash && strings.Contains(etcd.fields, "grpc-message=malformed method name: ") &&
		keelkv == rawAnswer{reset: int(http2.ErrCodeProtocol)}
}

func (s *side) raw(q *Raw) (answers [2]rawAnswer, err error) {
	connection, err := net.DialTimeout("tcp", s.server.Address, patience)
	if err != nil {
		return answers, err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return answers, err
	}
	c := &rawConnection{side: s, connection: connection, framer: http2.NewFramer(connection, connection)}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = 1 << 20
	if err := c.open(); err != nil {
		return answers, err
	}
	body := append(slices.Clone(q.Body), make([]byte, q.Zeros)...)
	if answers[0], err = c.ask(1, q.Fields, body); err != nil {
		return answers, fmt.Errorf("first request: %w", err)
	}
	answers[1], err = c.ask(3, goodFields("/etcdserverpb.KV/Range"), frame([]byte{0x0a, 1, 'k'}))
	if err != nil {
		return answers, fmt.Errorf("good request: %w", err)
	}
	return answers, nil
}

type rawConnection struct {
	side       *side
	connection net.Conn
	framer     *http2.Framer
	// windows are what the server lets us send.
	window, streamWindow, initial int64
	maxFrame                      int
}

func (c *rawConnection) open() error {
	c.window, c.initial, c.maxFrame = 65535, 65535, 16384
	if _, err := c.connection.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	if err := c.framer.WriteSettings(); err != nil {
		return err
	}
	// The server's settings come first of all.
	f, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	settings, ok := f.(*http2.SettingsFrame)
	if !ok {
		return fmt.Errorf("%T instead of settings", f)
	}
	if err := c.settings(settings); err != nil {
		return err
	}
	return nil
}

func (c *rawConnection) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if size, ok := f.Value(http2.SettingInitialWindowSize); ok {
		c.initial = int64(size)
	}
	return c.framer.WriteSettingsAck()
}

// ask sends headers and body on a new stream and reads until the stream ends.
func (c *rawConnection) ask(stream uint32, fields [][2][]byte, body []byte) (rawAnswer, error) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	all := append([][2][]byte{
		{[]byte(":scheme"), []byte("http")},
		{[]byte(":authority"), []byte(c.side.server.Address)},
	}, fields...)
	// Pseudo fields must stand first.
	slices.SortStableFunc(all, func(a, b [2][]byte) int { return rank(a) - rank(b) })
	for _, f := range all {
		if err := encoder.WriteField(hpack.HeaderField{Name: string(f[0]), Value: string(f[1])}); err != nil {
			return rawAnswer{}, err
		}
	}
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: body == nil,
	}); err != nil {
		return rawAnswer{}, err
	}
	c.streamWindow = c.initial
	answer := rawAnswer{reset: -1}
	var kept []string
	for body != nil {
		size := min(int64(len(body)), c.window, c.streamWindow, int64(c.maxFrame))
		if size > 0 || len(body) == 0 {
			end := size == int64(len(body))
			if err := c.framer.WriteData(stream, end, body[:size]); err != nil {
				return answer, err
			}
			c.window, c.streamWindow, body = c.window-size, c.streamWindow-size, body[size:]
			if end {
				break
			}
			continue
		}
		done, err := c.read(stream, &answer, &kept)
		if err != nil {
			return answer, err
		}
		if done {
			return answer.with(kept), nil
		}
	}
	for {
		done, err := c.read(stream, &answer, &kept)
		if err != nil {
			return answer, err
		}
		if done {
			return answer.with(kept), nil
		}
	}
}

func (a rawAnswer) with(kept []string) rawAnswer {
	slices.Sort(kept)
	a.fields = strings.Join(kept, "; ")
	return a
}

func rank(f [2][]byte) int {
	if bytes.HasPrefix(f[0], []byte(":")) {
		return 0
	}
	return 1
}

// read takes one frame; it says whether the stream is over.
func (c *rawConnection) read(stream uint32, answer *rawAnswer, kept *[]string) (bool, error) {
	f, err := c.framer.ReadFrame()
	if err != nil {
		return false, err
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return false, c.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return false, c.framer.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int64(f.Increment)
		} else if f.StreamID == stream {
			c.streamWindow += int64(f.Increment)
		}
	case *http2.GoAwayFrame:
		return false, fmt.Errorf("the server ended the connection: %v %q", f.ErrCode, f.DebugData())
	case *http2.MetaHeadersFrame:
		if f.StreamID == stream {
			for _, field := range f.Fields {
				if slices.Contains([]string{":status", "content-type", "grpc-status", "grpc-message"}, field.Name) {
					*kept = append(*kept, field.Name+"="+c.side.text(unescape(field.Value)))
				}
			}
			return f.StreamEnded(), nil
		}
	case *http2.DataFrame:
		if f.StreamID == stream {
			if len(f.Data()) > 0 {
				answer.body = 1
			}
			if err := c.framer.WriteWindowUpdate(0, uint32(max(1, len(f.Data())))); err != nil {
				return false, err
			}
			return f.StreamEnded(), nil
		}
	case *http2.RSTStreamFrame:
		if f.StreamID == stream {
			answer.reset = int(f.ErrCode)
			return true, nil
		}
	}
	return false, nil
}

// unescape reads grpc-message, which is percent-encoded.
func unescape(value string) string {
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}

func goodFields(path string) [][2][]byte {
	return [][2][]byte{
		{[]byte(":method"), []byte("POST")},
		{[]byte(":path"), []byte(path)},
		{[]byte("content-type"), []byte("application/grpc")},
		{[]byte("te"), []byte("trailers")},
	}
}

// frame puts gRPC's five bytes before a message.
func frame(encoded []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(encoded)))
	return append(out, encoded...)
}

func (c *Coverage) rawAnswer(a rawAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	code, text := "", ""
	for _, field := range strings.Split(a.fields, "; ") {
		if value, ok := strings.CutPrefix(field, "grpc-status="); ok {
			code = value
		}
		if value, ok := strings.CutPrefix(field, "grpc-message="); ok {
			text = value
		}
	}
	if a.reset >= 0 {
		text = fmt.Sprintf("stream reset %d %s", a.reset, text)
	}
	if code != "" && code != "0" || a.reset >= 0 {
		c.counts["error raw "+code+" "+text]++
	}
}
