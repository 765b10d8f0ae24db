# One image for the API and the batch jobs.
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 tawsiya
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY feature_repo feature_repo
COPY expectations expectations
COPY training training
COPY batch_jobs batch_jobs
COPY online_api online_api
COPY config config
RUN pip install --no-cache-dir --constraint constraints.txt --editable '.[embedded]' && mkdir var data && chown tawsiya var data
USER tawsiya
ENTRYPOINT ["tawsiya"]
CMD ["serve", "--config", "config/production.yaml"]
