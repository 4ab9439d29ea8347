//! The pages of a column, inflated and checked, for the `parquet` crate's decoders. The crate's own reader takes sizes
//! and counts from page headers as they come.

use std::sync::Arc;

use bytes::Bytes;
use flate2::Crc;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::schema::types::ColumnDescPtr;

use super::claims;
use super::codec::Codec;
use super::header::{Header, Kind};
use crate::table::pread::PreadFile;

/// Reads the pages of one column of one row group, in order.
pub(super) struct Pages {
    file: Arc<PreadFile>,
    column: ColumnDescPtr,
    codec: Codec,
    at: u64,
    left: u64,
    /// The header of the page that is next, once somebody has looked at it.
    seen: Option<Header>,
}

impl Pages {
    pub(super) fn new(file: &Arc<PreadFile>, chunk: &ColumnChunkMetaData) -> ParquetResult<Self> {
        // Of these `byte_range` panics.
        let begin = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
        if begin < 0 || chunk.compressed_size() < 0 {
            return Err(ParquetError::General(format!(
                "a column claims to have {} bytes at {begin}",
                chunk.compressed_size()
            )));
        }
        let (at, left) = chunk.byte_range();
        let codec = Codec::new(chunk.compression()).map_err(ParquetError::General)?;
        let column = chunk.column_descr_ptr();
        Ok(Self { file: Arc::clone(file), column, codec, at, left, seen: None })
    }

    /// The header of the next page, which is behind it then.
    fn header(&mut self) -> ParquetResult<Option<Header>> {
        if let Some(header) = self.seen.take() {
            return Ok(Some(header));
        }
        while self.left > 0 {
            let (header, len) = Header::read(&self.file, self.at, self.left)?;
            self.pass(len)?;
            if !matches!(header.page, Kind::Index) {
                return Ok(Some(header));
            }
            self.pass(header.packed as u64)?;
        }
        Ok(None)
    }

    fn pass(&mut self, len: u64) -> ParquetResult<()> {
        let left = self.left.checked_sub(len);
        self.left = left.ok_or_else(|| {
            let (at, left) = (self.at, self.left);
            ParquetError::EOF(format!(
                "{len} bytes of a page at offset {at}, where its column has {left} left"
            ))
        })?;
        self.at += len;
        Ok(())
    }

    fn inflate(&mut self, header: &Header, packed: Bytes) -> Result<Bytes, String> {
        let levels = header.plain_bytes();
        let damaged = || "the levels of a page are longer than the page".to_owned();
        let len = header.inflated.checked_sub(levels).ok_or_else(damaged)?;
        let (plain, values) = packed.split_at_checked(levels).ok_or_else(damaged)?;
        if matches!(self.codec, Codec::None) || !header.compressed() {
            return Ok(packed);
        }
        let mut all = plain.to_vec();
        // A page of nothing but nulls has no values, and need not have anything that inflates to none.
        if len > 0 {
            self.codec.inflate(values, len, &mut all)?;
        }
        Ok(all.into())
    }
}

impl Iterator for Pages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        let at = self.at;
        self.pass(header.packed as u64)?;
        let bad = |reason: String| ParquetError::General(format!("the page at offset {at}: {reason}"));
        let packed = self.file.get_bytes(at, header.packed)?;
        if let Some(expected) = header.crc {
            let mut crc = Crc::new();
            crc.update(&packed);
            if crc.sum() != expected {
                return Err(bad("the checksum does not fit".into()));
            }
        }
        let inflated = self.inflate(&header, packed).map_err(bad)?;
        let page = header.page.page(inflated);
        if let Some(page) = &page {
            claims::check(page, &self.column).map_err(bad)?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.seen = self.header()?;
        Ok(self.seen.as_ref().map(Header::ahead))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.header()?.map_or(Ok(()), |header| self.pass(header.packed as u64))
    }
}

/// One row group, for readers of Arrow arrays.
pub(super) struct RowGroup<'a> {
    pub(super) file: &'a Arc<PreadFile>,
    pub(super) metadata: &'a ParquetMetaData,
    pub(super) group: usize,
}

impl RowGroup<'_> {
    fn own(&self) -> &RowGroupMetaData {
        self.metadata.row_group(self.group)
    }
}

impl RowGroups for RowGroup<'_> {
    fn num_rows(&self) -> usize {
        self.own().num_rows().max(0) as usize
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        Ok(Box::new(Lone(Some(Pages::new(self.file, self.own().column(leaf))?))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.own()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

/// The pages of a column in one row group.
struct Lone(Option<Pages>);

impl Iterator for Lone {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as _))
    }
}

impl PageIterator for Lone {}
