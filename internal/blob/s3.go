package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3Options reach a bucket.
type S3Options struct {
	Endpoint  string // host:port
	Bucket    string
	Region    string
	AccessKey string
	SecretKey string
	Insecure  bool // plain HTTP
	PathStyle bool // the bucket in the path, for stores without a name per bucket
}

// S3 is a store in a bucket.
type S3 struct {
	client *minio.Client
	bucket string
}

// NewS3 returns a store in a bucket that exists. It does not connect.
func NewS3(o S3Options) (*S3, error) {
	lookup := minio.BucketLookupAuto
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(o.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""), Secure: !o.Insecure, Region: o.Region, BucketLookup: lookup,
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return &S3{client: client, bucket: o.Bucket}, nil
}

// Put implements Store. The file is laid aside first: the length is known to be right before anything is sent, and the
// client can send again after a lost connection. The store refuses to replace an object (If-None-Match).
func (s *S3) Put(ctx context.Context, key string, r io.Reader, size int64) (err error) {
	if err := checkKey(key); err != nil {
		return err
	}
	aside, err := os.CreateTemp("", "lianke-put-*")
	if err != nil {
		return fmt.Errorf("put object: %w", err)
	}
	defer func() { err = errors.Join(err, aside.Close(), os.Remove(aside.Name())) }()
	if _, err := io.Copy(aside, &exactly{r, size}); err != nil {
		return fmt.Errorf("put object: %w", err)
	}
	if _, err := aside.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("put object: %w", err)
	}
	opts := minio.PutObjectOptions{ContentType: "application/octet-stream"}
	opts.SetMatchETagExcept("*")
	if _, err := s.client.PutObject(ctx, s.bucket, key, aside, size, opts); err != nil {
		if status := minio.ToErrorResponse(err).StatusCode; status == http.StatusPreconditionFailed || status == http.StatusConflict {
			return ErrExists
		}
		return fmt.Errorf("put object: %w", err)
	}
	return nil
}

// Open implements Store.
func (s *S3) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	obj, err := s.client.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, s.fault("open object", err)
	}
	// GetObject asks nothing before the first read.
	if _, err := obj.Stat(); err != nil {
		obj.Close()
		return nil, s.fault("open object", err)
	}
	return obj, nil
}

// Size implements Store.
func (s *S3) Size(ctx context.Context, key string) (int64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	info, err := s.client.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return 0, s.fault("size of object", err)
	}
	return info.Size, nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := s.client.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{}); err != nil {
		return s.fault("delete object", err)
	}
	return nil
}

// List implements Store.
func (s *S3) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the listing when we have enough
	defer cancel()
	var keys []string
	for obj := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{
		Prefix: prefix, StartAfter: after, Recursive: true, MaxKeys: min(limit, 1000),
	}) {
		if obj.Err != nil {
			return nil, s.fault("list objects", obj.Err)
		}
		if keys = append(keys, obj.Key); len(keys) == limit {
			break
		}
	}
	return keys, nil
}

func (s *S3) fault(op string, err error) error {
	if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
		return ErrNotFound
	}
	return fmt.Errorf("%s: %w", op, err)
}
