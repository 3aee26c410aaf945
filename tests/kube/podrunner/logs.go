// Container logs: one file per run, each line with its time and stream, served as a kubelet serves them.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// logFile holds one run of a container. Lines: "<RFC 3339 time> <stream> <text>".
type logFile struct {
	mu   sync.Mutex
	file *os.File
}

func openLog(path string) (*logFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &logFile{file: file}, err
}

func (l *logFile) line(stream, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.file, "%s %s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z"), stream, text)
}

// copy takes lines from a pipe until it ends.
func (l *logFile) copy(from *os.File, stream string) {
	defer from.Close()
	reader := bufio.NewReaderSize(from, 16<<10)
	for {
		text, err := reader.ReadString('\n')
		if text != "" {
			l.line(stream, strings.TrimSuffix(text, "\n"))
		}
		if err != nil {
			return
		}
	}
}

type lineWriter struct {
	log    *logFile
	stream string
}

func (w lineWriter) Write(p []byte) (int, error) {
	for text := range strings.SplitSeq(strings.TrimSuffix(string(p), "\n"), "\n") {
		w.log.line(w.stream, text)
	}
	return len(p), nil
}

func (l *logFile) writer(stream string) io.Writer { return lineWriter{l, stream} }

// logQuery: what the API lets a reader ask for.
type logQuery struct {
	follow, timestamps, previous bool
	tail                         int // -1: all
	limit                        int64
	since                        time.Time
}

func parseLogQuery(r *http.Request) (logQuery, error) {
	values := r.URL.Query()
	q := logQuery{tail: -1, limit: -1}
	for name, target := range map[string]*bool{"follow": &q.follow, "timestamps": &q.timestamps, "previous": &q.previous} {
		if text := values.Get(name); text != "" {
			on, err := strconv.ParseBool(text)
			if err != nil {
				return q, fmt.Errorf("%s: %w", name, err)
			}
			*target = on
		}
	}
	if text := values.Get("tailLines"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return q, err
		}
		q.tail = n
	}
	if text := values.Get("limitBytes"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return q, err
		}
		q.limit = n
	}
	if text := values.Get("sinceSeconds"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return q, err
		}
		q.since = time.Now().Add(-time.Duration(n) * time.Second)
	}
	if text := values.Get("sinceTime"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return q, err
		}
		q.since = at
	}
	return q, nil
}

// serveLog writes a run's lines; with follow, those to come until the run has ended (`ended` is closed).
func serveLog(ctx context.Context, w http.ResponseWriter, path string, q logQuery, ended <-chan struct{}) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	if q.tail >= 0 {
		if err := skipToTail(file, reader, q.tail); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	flusher, _ := w.(http.Flusher)
	left, part, over := q.limit, "", false
	for {
		text, err := reader.ReadString('\n')
		part += text
		if err == nil {
			line := present(part, q)
			part = ""
			if left >= 0 && int64(len(line)) > left {
				line = line[:left]
			}
			if _, err := io.WriteString(w, line); err != nil {
				return nil
			}
			if left -= int64(len(line)); q.limit >= 0 && left <= 0 {
				return nil
			}
			continue
		}
		if flusher != nil {
			flusher.Flush()
		}
		if !q.follow || over {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			over = true // once more, for what came last
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func present(line string, q logQuery) string {
	at, rest, _ := strings.Cut(line, " ")
	if !q.since.IsZero() {
		if when, err := time.Parse(time.RFC3339Nano, at); err == nil && when.Before(q.since) {
			return ""
		}
	}
	_, text, _ := strings.Cut(rest, " ")
	if q.timestamps {
		return at + " " + text
	}
	return text
}

func skipToTail(file *os.File, reader *bufio.Reader, tail int) error {
	count := 0
	for {
		_, err := reader.ReadString('\n')
		if err != nil {
			break
		}
		count++
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	reader.Reset(file)
	for range max(0, count-tail) {
		if _, err := reader.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

// what a kubelet takes of a log as the message of a container that failed
const (
	messageLines = 80
	messageBytes = 2048
)

// logTail is the end of a run's log, without times and streams.
func logTail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.SplitAfter(string(text), "\n")
	lines = lines[max(0, len(lines)-1-messageLines):]
	for i, line := range lines {
		lines[i] = present(line, logQuery{})
	}
	tail := strings.Join(lines, "")
	return tail[max(0, len(tail)-messageBytes):]
}
